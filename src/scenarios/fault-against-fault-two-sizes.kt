# A read that maps a huge page against a fetch that must not (NX huge pages), and back again.
param kvm/nx_huge_pages Y
vm vcpus=2 entries=4 code=0
mem m type=2m size=64K populate=1
slot 1 gfn=16 npages=16 mem=m
touch vcpu=0 gfn=28 op=r
touch vcpu=1 gfn=28 op=r
phase race
thread vcpu0
touch vcpu=0 gfn=16 op=r
touch vcpu=0 gfn=18 op=w
thread vcpu1
touch vcpu=1 gfn=17 op=x
touch vcpu=1 gfn=17 op=x
