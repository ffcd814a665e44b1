# The smallest fight between a fault that splits a huge page of a log, and a zap of that page.
param kvm/eager_page_split N
vm vcpus=1 entries=4 code=0
mem m type=2m size=16K populate=1
slot 1 gfn=16 npages=4 mem=m
touch vcpu=0 gfn=16 op=w
setflags 1 flags=1
phase race
thread vcpu0
touch vcpu=0 gfn=16 op=w
thread other
zaprange gfn=16 n=4
