# User space has pages mapped ahead of their use while it deletes their memslot.
vm vcpus=1 entries=4 code=0
mem m size=16K populate=1
slot 1 gfn=16 npages=4 mem=m
touch vcpu=0 gfn=16 op=w
phase race
thread vcpu0
prefault vcpu=0 gfn=17 n=2
touch vcpu=0 gfn=16 op=r
thread ioctl
delslot 1
