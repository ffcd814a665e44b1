# The smallest fight between a host that makes one page read-only and a guest that writes it.
vm vcpus=1 entries=4 code=0
mem m size=16K populate=1
slot 1 gfn=16 npages=4 mem=m
touch vcpu=0 gfn=16 op=w
phase race
thread vcpu0
touch vcpu=0 gfn=16 op=w
thread sh
mprotect m len=4K prot=r
