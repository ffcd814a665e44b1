# Two fast zaps, one after the other, while a notifier that yields keeps an old root alive, and its only vCPU leaves it.
vm vcpus=1 entries=4 code=0
mem m size=16K populate=1
slot 1 gfn=16 npages=4 mem=m
touch vcpu=0 gfn=16 n=2 op=w
phase race
thread vcpu0
touch vcpu=0 gfn=18 op=w
thread ioctl
zapall
zapall
thread sh
resched every=2
madvise m len=12K advice=dontneed
