# Two walkers that hold mmu_lock for write and yield to each other, and to a fault.
vm vcpus=1 entries=4 code=0
mem m size=32K populate=1
slot 1 gfn=16 npages=8 mem=m
touch vcpu=0 gfn=16 n=2 op=w
touch vcpu=0 gfn=20 op=w
phase race
thread vcpu0
touch vcpu=0 gfn=21 op=w
thread one
zaprange gfn=16 n=5
thread two
zaprange gfn=18 n=6
