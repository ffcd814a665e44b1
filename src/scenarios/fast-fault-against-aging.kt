# Fast page faults restore what aging tracks (no A/D bits), while the log is harvested.
vm vcpus=2 entries=4 code=0 cpu=ept ad=0
mem m size=16K populate=1
slot 1 gfn=16 npages=4 mem=m flags=1
touch vcpu=0 gfn=16 n=2 op=w
touch vcpu=1 gfn=16 op=r
phase race
thread vcpu0
touch vcpu=0 gfn=16 op=w
thread vcpu1
touch vcpu=1 gfn=17 op=r
touch vcpu=1 gfn=16 op=w
thread sh
age m len=8K
thread ioctl
getlog 1
