# The smallest fight between a harvest and a zap of the one page that it protects.
vm vcpus=1 entries=4 code=0
mem m size=16K populate=1
slot 1 gfn=16 npages=4 mem=m flags=1
touch vcpu=0 gfn=16 op=w
phase race
thread ioctl
getlog 1
thread other
zaprange gfn=16 n=1
