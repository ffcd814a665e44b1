# All of a sparse tree is zapped by walks that skip runs of empty entries, under a scheduler that wants the processor back.
vm vcpus=1 entries=8 code=0 iter=skip32
mem m size=256K populate=1
slot 1 gfn=64 npages=64 mem=m
touch vcpu=0 gfn=66 op=w
touch vcpu=0 gfn=71 op=w
touch vcpu=0 gfn=120 op=w
phase race
thread vcpu0
touch vcpu=0 gfn=67 op=w
thread ioctl
resched every=2
zapall
