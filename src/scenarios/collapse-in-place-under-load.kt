# Huge pages are put in the place of several tables by a thread that the scheduler wants to stop, while
# vCPUs use the tables and the host ages pages.
vm vcpus=2 entries=4 code=0 kernel=6.13
mem m type=2m size=48K populate=1
slot 1 gfn=16 npages=12 mem=m flags=1
touch vcpu=0 gfn=16 n=2 op=w
touch vcpu=0 gfn=20 op=w
touch vcpu=0 gfn=24 op=w
touch vcpu=1 gfn=17 op=r
touch vcpu=1 gfn=21 op=r
getlog 1
phase race
thread vcpu0
touch vcpu=0 gfn=18 op=r
thread vcpu1
touch vcpu=1 gfn=22 op=r
thread ioctl
resched every=2
setflags 1 flags=0
thread sh
age m off=32K len=4K
