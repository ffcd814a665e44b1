# Two vCPUs load their first root at the same time, and fault.
vm vcpus=2 entries=4 code=0
mem m size=64K populate=1
slot 1 gfn=16 npages=16 mem=m
phase race
thread vcpu0
touch vcpu=0 gfn=16 op=w
thread vcpu1
touch vcpu=1 gfn=17 op=r
