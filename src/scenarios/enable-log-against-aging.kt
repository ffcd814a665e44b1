# Aging takes access away without a flush (no A/D bits) while logging begins and the guest writes.
vm vcpus=2 entries=4 code=0 cpu=ept ad=0
mem m size=16K populate=1
slot 1 gfn=16 npages=4 mem=m
touch vcpu=0 gfn=16 op=w
touch vcpu=1 gfn=17 op=w
phase race
thread vcpu0
touch vcpu=0 gfn=16 op=w
thread sh
age m len=8K
thread ioctl
setflags 1 flags=1
getlog 1
