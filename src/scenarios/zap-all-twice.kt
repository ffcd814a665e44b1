# Two fast zaps, one after the other, while a notifier that yields keeps an old root alive.
vm vcpus=2 entries=4 code=0
mem m size=32K populate=1
slot 1 gfn=16 npages=8 mem=m
touch vcpu=0 gfn=16 n=2 op=w
touch vcpu=1 gfn=20 op=w
phase race
thread vcpu1
touch vcpu=1 gfn=21 op=w
thread ioctl
zapall
zapall
thread sh
resched every=2
madvise m len=24K advice=dontneed
