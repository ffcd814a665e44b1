# Write faults on small pages against the start of dirty logging, and a harvest.
vm vcpus=2 entries=4 code=0
mem m size=32K populate=1
slot 1 gfn=16 npages=8 mem=m
touch vcpu=0 gfn=16 op=w
touch vcpu=1 gfn=20 op=w
phase race
thread vcpu0
touch vcpu=0 gfn=17 op=w
touch vcpu=0 gfn=16 op=w
thread vcpu1
touch vcpu=1 gfn=20 op=w
thread ioctl
setflags 1 flags=1
getlog 1
