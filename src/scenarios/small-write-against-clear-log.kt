# The smallest fight between a write and CLEAR of a manually protected log: one page.
vm vcpus=1 entries=4 code=0 manual=1
mem m size=16K populate=1
slot 1 gfn=16 npages=4 mem=m flags=1
touch vcpu=0 gfn=16 op=w
phase race
thread vcpu0
touch vcpu=0 gfn=16 op=w
thread ioctl
clearlog 1 n=4
