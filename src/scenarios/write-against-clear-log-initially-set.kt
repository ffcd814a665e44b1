# Writes to huge pages against CLEAR in initially-set mode, which splits and protects only what it is asked to.
vm vcpus=1 entries=4 code=0 manual=3
mem m type=2m size=512K populate=1
slot 1 gfn=0 npages=128 mem=m
touch vcpu=0 gfn=0 op=w
touch vcpu=0 gfn=60 op=w
setflags 1 flags=1
phase race
thread vcpu0
touch vcpu=0 gfn=1 op=w
touch vcpu=0 gfn=60 op=w
thread ioctl
clearlog 1 n=64 every=4
