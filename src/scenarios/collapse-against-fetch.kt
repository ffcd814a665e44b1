# Logging ends, and tables are zapped so that huge pages can come back, while vCPUs fetch from small ones (NX huge pages).
param kvm/nx_huge_pages Y
vm vcpus=2 entries=4 code=0
mem m type=2m size=48K populate=1
slot 1 gfn=16 npages=12 mem=m flags=1
touch vcpu=0 gfn=16 op=w
touch vcpu=1 gfn=20 op=x
getlog 1
phase race
thread vcpu0
touch vcpu=0 gfn=25 op=x
touch vcpu=0 gfn=17 op=x
thread vcpu1
touch vcpu=1 gfn=21 op=x
thread ioctl
setflags 1 flags=0
