# The smallest fight between a fault and a zap of its range: one page, in a table that is there.
vm vcpus=1 entries=4 code=0
mem m size=16K populate=1
slot 1 gfn=16 npages=4 mem=m
touch vcpu=0 gfn=16 op=w
phase race
thread vcpu0
touch vcpu=0 gfn=17 op=w
thread ioctl
zaprange gfn=17 n=1
