# Splitting drops mmu_lock to allocate; meanwhile the host drops the page that is being split, and a vCPU writes it.
vm vcpus=1 entries=4 code=0
mem m type=2m size=32K populate=1
slot 1 gfn=16 npages=8 mem=m
touch vcpu=0 gfn=16 op=w
touch vcpu=0 gfn=20 op=w
phase race
thread vcpu0
touch vcpu=0 gfn=17 op=w
thread ioctl
setflags 1 flags=1
thread sh
madvise m len=16K advice=dontneed
