# Logging begins in initially-set mode without eager splitting, and CLEAR protects huge pages that the guest writes.
param kvm/eager_page_split N
vm vcpus=2 entries=4 code=0 manual=3
mem m type=2m size=32K populate=1
slot 1 gfn=16 npages=8 mem=m
touch vcpu=0 gfn=16 op=w
touch vcpu=1 gfn=20 op=w
phase race
thread vcpu0
touch vcpu=0 gfn=17 op=w
thread vcpu1
touch vcpu=1 gfn=21 op=w
thread ioctl
setflags 1 flags=1
clearlog 1 n=8 every=3
