# A page that is write-tracked was made old (no A/D bits): the guest's write must be emulated, however it faults.
vm vcpus=2 entries=4 code=0 cpu=ept ad=0
mem m size=16K populate=1
slot 1 gfn=16 npages=4 mem=m
touch vcpu=0 gfn=16 op=w
touch vcpu=1 gfn=16 op=r
track gfn=16
touch vcpu=0 gfn=16 op=r
phase race
thread vcpu0
touch vcpu=0 gfn=16 op=w
thread vcpu1
touch vcpu=1 gfn=16 op=r
thread sh
age m len=4K
