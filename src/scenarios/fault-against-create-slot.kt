# Accesses to a gfn without memory (MMIO) against the creation of a memslot there, which then logs.
vm vcpus=1 entries=4 code=0
mem m size=16K populate=1
touch vcpu=0 gfn=16 op=r
touch vcpu=0 gfn=18 op=w
phase race
thread vcpu0
touch vcpu=0 gfn=16 op=r
touch vcpu=0 gfn=17 op=w
thread ioctl
slot 1 gfn=16 npages=4 mem=m
setflags 1 flags=1
