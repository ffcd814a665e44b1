# A walk over a range with next to nothing in it, with entries skipped, under a scheduler that wants the processor back.
vm vcpus=1 entries=8 code=0 iter=only-present
mem m size=256K populate=1
slot 1 gfn=64 npages=64 mem=m
touch vcpu=0 gfn=64 op=w
touch vcpu=0 gfn=71 op=w
touch vcpu=0 gfn=120 op=w
phase race
thread vcpu0
touch vcpu=0 gfn=66 op=w
thread ioctl
resched every=3
zaprange gfn=64 n=60
