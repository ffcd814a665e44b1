# The host drops pages that a faulting vCPU has nothing to do with.
vm vcpus=1 entries=4 code=0
mem m size=16K populate=1
mem far size=16K populate=1
slot 1 gfn=16 npages=4 mem=m
slot 2 gfn=64 npages=4 mem=far
touch vcpu=0 gfn=16 op=w
touch vcpu=0 gfn=64 op=w
phase race
thread vcpu0
touch vcpu=0 gfn=17 op=w
thread sh
madvise far len=8K advice=dontneed
