# The smallest fight between a fault and a zap of all roots: one page, one root.
vm vcpus=1 entries=4 code=0
mem m size=16K populate=1
slot 1 gfn=16 npages=4 mem=m
touch vcpu=0 gfn=16 op=w
phase race
thread vcpu0
touch vcpu=0 gfn=16 op=w
thread ioctl
zapall
