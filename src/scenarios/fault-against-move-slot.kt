# Faults at the old and the new place of a memslot against its move.
vm vcpus=2 entries=4 code=0
mem m size=16K populate=1
slot 1 gfn=16 npages=4 mem=m
touch vcpu=0 gfn=16 op=w
touch vcpu=1 gfn=33 op=r
phase race
thread vcpu0
touch vcpu=0 gfn=17 op=w
thread vcpu1
touch vcpu=1 gfn=32 op=r
thread ioctl
moveslot 1 gfn=32
