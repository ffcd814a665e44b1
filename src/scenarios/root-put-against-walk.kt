# The last user of a root lets it go (5.18: and that frees it) while a notifier and another vCPU use the list of roots.
vm vcpus=2 entries=4 code=0 kernel=5.18
mem m size=16K populate=1
slot 1 gfn=16 npages=4 mem=m
role vcpu=1 nested=1
touch vcpu=0 gfn=16 op=w
touch vcpu=1 gfn=16 n=2 op=w
phase race
thread vcpu0
touch vcpu=0 gfn=17 op=w
thread vcpu1
touch vcpu=1 gfn=16 op=r
thread ioctl
zapall
thread sh
resched every=2
madvise m len=8K advice=dontneed
