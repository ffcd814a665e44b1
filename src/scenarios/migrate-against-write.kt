# The host migrates pages that the guest writes, emulated writes to a write-tracked one among them.
vm vcpus=2 entries=4 code=0
mem m size=16K populate=1
slot 1 gfn=16 npages=4 mem=m
touch vcpu=0 gfn=16 op=w
touch vcpu=1 gfn=17 op=w
track gfn=17
phase race
thread vcpu0
touch vcpu=0 gfn=16 op=w
thread vcpu1
touch vcpu=1 gfn=17 op=w
thread sh
madvise m len=8K advice=migrate
