# A write fault against a zap of the range that holds its gfn.
vm vcpus=1 entries=4 code=0
mem m size=32K
slot 1 gfn=16 npages=8 mem=m
touch vcpu=0 gfn=16 op=w
phase race
thread vcpu0
touch vcpu=0 gfn=17 op=w
thread ioctl
zaprange gfn=16 n=4
