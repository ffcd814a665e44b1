# Two vCPUs write to one huge page that logging has write-protected: each fault needs a small page.
param kvm/eager_page_split N
vm vcpus=2 entries=4 code=0
mem m type=2m size=32K populate=1
slot 1 gfn=16 npages=8 mem=m
touch vcpu=0 gfn=16 op=w
touch vcpu=1 gfn=17 op=r
setflags 1 flags=1
phase race
thread vcpu0
touch vcpu=0 gfn=16 op=w
touch vcpu=0 gfn=17 op=w
thread vcpu1
touch vcpu=1 gfn=18 op=w
thread ioctl
getlog 1
