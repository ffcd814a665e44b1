# As split-on-fault, in the kernels that zap the huge page and link an empty table.
param kvm/eager_page_split N
vm vcpus=2 entries=4 code=0 kernel=6.1
mem m type=2m size=32K populate=1
slot 1 gfn=16 npages=8 mem=m
touch vcpu=0 gfn=16 op=w
touch vcpu=1 gfn=17 op=r
setflags 1 flags=1
phase race
thread vcpu0
touch vcpu=0 gfn=16 op=w
thread vcpu1
touch vcpu=1 gfn=17 op=r
touch vcpu=1 gfn=18 op=w
thread ioctl
getlog 1
