# Guest writes against the start of logging with page-modification logging, over small and huge pages.
param kvm_intel/pml Y
vm vcpus=2 entries=4 code=0 cpu=ept
mem m type=2m size=32K populate=1
mem small size=16K populate=1
slot 1 gfn=16 npages=8 mem=m
slot 2 gfn=24 npages=4 mem=small
touch vcpu=0 gfn=16 op=w
touch vcpu=1 gfn=24 op=w
phase race
thread vcpu0
touch vcpu=0 gfn=17 op=w
thread vcpu1
touch vcpu=1 gfn=24 op=w
thread ioctl
setflags 1 flags=1
setflags 2 flags=1
getlog 2
