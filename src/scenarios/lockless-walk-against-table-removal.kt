# Fast page faults walk without a lock through tables that collapse takes away, and that are freed and used again.
vm vcpus=2 entries=4 code=0
mem m type=2m size=32K populate=1
slot 1 gfn=16 npages=4 mem=m flags=1
touch vcpu=0 gfn=16 n=2 op=w
touch vcpu=1 gfn=16 op=r
getlog 1
phase race
thread vcpu0
touch vcpu=0 gfn=16 op=w
thread ioctl
setflags 1 flags=0
thread vcpu1
touch vcpu=1 gfn=17 op=r
