# Roots come and go so fast that a new one gets the page of an old one, while the host moves the page behind.
vm vcpus=1 entries=4 code=0 pages=12
mem m size=16K populate=1
slot 1 gfn=16 npages=4 mem=m
touch vcpu=0 gfn=16 op=w
phase race
thread vcpu0
zapall
touch vcpu=0 gfn=17 op=r
zapall
touch vcpu=0 gfn=17 op=r
zapall
touch vcpu=0 gfn=16 op=r
thread sh
madvise m len=4K advice=migrate
