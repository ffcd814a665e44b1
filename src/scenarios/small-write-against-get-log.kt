# The smallest fight between a fast page fault and a harvest: one protected page, one GET.
vm vcpus=1 entries=4 code=0
mem m size=16K populate=1
slot 1 gfn=16 npages=4 mem=m flags=1
touch vcpu=0 gfn=16 op=w
getlog 1
phase race
thread vcpu0
touch vcpu=0 gfn=16 op=w
thread ioctl
getlog 1
