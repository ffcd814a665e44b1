# Two slots stop logging, and the host migrates the pages of one of them: walkers under the read lock beside one that writes.
vm vcpus=1 entries=4 code=0
mem m type=2m size=16K populate=1
mem n type=2m size=16K populate=1
slot 1 gfn=16 npages=4 mem=m flags=1
slot 2 gfn=20 npages=4 mem=n flags=1
touch vcpu=0 gfn=16 op=w
touch vcpu=0 gfn=20 op=w
phase race
thread vcpu0
touch vcpu=0 gfn=17 op=w
thread ioctl
setflags 1 flags=0
thread sh
madvise m len=16K advice=migrate
