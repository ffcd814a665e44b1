# Guest writes against GET and CLEAR of a manually protected dirty log.
vm vcpus=1 entries=4 code=0 manual=1
mem m size=32K populate=1
slot 1 gfn=16 npages=8 mem=m flags=1
touch vcpu=0 gfn=16 n=2 op=w
phase race
thread vcpu0
touch vcpu=0 gfn=17 op=w
touch vcpu=0 gfn=16 op=w
thread ioctl
getlog 1
clearlog 1 n=8
