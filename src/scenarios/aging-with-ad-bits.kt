# The processor sets A and D while aging clears A, and the page goes.
vm vcpus=1 entries=4 code=0
mem m size=16K populate=1
slot 1 gfn=16 npages=4 mem=m
touch vcpu=0 gfn=16 op=r
age m len=4K
phase race
thread vcpu0
touch vcpu=0 gfn=16 op=w
touch vcpu=0 gfn=17 op=w
thread sh
age m len=8K
madvise m off=0 len=4K advice=migrate
