# A fetch makes a table for NX huge pages and puts it on the list, while the range is invalidated and recovery runs.
param kvm/nx_huge_pages Y
param kvm/nx_huge_pages_recovery_ratio 1
vm vcpus=2 entries=4 code=0
mem m type=2m size=32K populate=1
slot 1 gfn=16 npages=8 mem=m
touch vcpu=0 gfn=16 op=r
touch vcpu=1 gfn=24 op=r
phase race
thread vcpu0
touch vcpu=0 gfn=16 op=x
thread vcpu1
touch vcpu=1 gfn=16 op=w
thread ioctl
zapall
thread nx
recover
recover
