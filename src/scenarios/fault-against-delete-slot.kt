# Faults in a memslot, and in its neighbour, against the deletion of the memslot.
vm vcpus=2 entries=4 code=0
mem m size=32K populate=1
mem other size=16K populate=1
slot 1 gfn=16 npages=8 mem=m
slot 2 gfn=24 npages=4 mem=other
touch vcpu=0 gfn=16 op=w
touch vcpu=1 gfn=24 op=w
phase race
thread vcpu0
touch vcpu=0 gfn=17 op=w
thread vcpu1
touch vcpu=1 gfn=25 op=r
thread ioctl
delslot 1
