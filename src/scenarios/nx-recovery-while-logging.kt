# NX recovery meets tables of a slot that logs, in both address spaces.
param kvm/nx_huge_pages Y
param kvm/nx_huge_pages_recovery_ratio 1
vm vcpus=2 entries=4 code=0
mem m type=2m size=16K populate=1
mem s type=2m size=16K populate=1
slot 1 gfn=16 npages=4 mem=m
slot 2 gfn=16 npages=4 mem=s as=1
role vcpu=1 smm=1
touch vcpu=0 gfn=16 op=x
touch vcpu=1 gfn=16 op=x
setflags 2 flags=1 as=1
phase race
thread vcpu1
touch vcpu=1 gfn=17 op=w
thread nx
recover
thread ioctl
getlog 2 as=1
