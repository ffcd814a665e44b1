# Guest writes, most of them fast page faults, against two harvests of the dirty log.
vm vcpus=2 entries=4 code=0
mem m size=32K populate=1
slot 1 gfn=16 npages=8 mem=m flags=1
touch vcpu=0 gfn=16 n=2 op=w
touch vcpu=1 gfn=17 op=w
getlog 1
phase race
thread vcpu0
touch vcpu=0 gfn=16 op=w
touch vcpu=0 gfn=18 op=w
thread vcpu1
touch vcpu=1 gfn=17 op=w
thread ioctl
getlog 1
getlog 1
