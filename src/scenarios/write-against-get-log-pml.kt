# Guest writes against a harvest with page-modification logging: D bits and the buffers of two vCPUs.
param kvm_intel/pml Y
vm vcpus=2 entries=4 code=0 cpu=ept
mem m size=32K populate=1
slot 1 gfn=16 npages=8 mem=m
touch vcpu=0 gfn=16 n=2 op=w
touch vcpu=1 gfn=17 op=w
setflags 1 flags=1
phase race
thread vcpu0
touch vcpu=0 gfn=16 op=w
touch vcpu=0 gfn=17 op=w
thread vcpu1
touch vcpu=1 gfn=17 op=w
thread ioctl
getlog 1
