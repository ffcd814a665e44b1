# Two vCPUs write the same page, which nobody has mapped yet.
vm vcpus=2 entries=4 code=0
mem m size=64K
slot 1 gfn=16 npages=16 mem=m
touch vcpu=0 gfn=31 op=r
touch vcpu=1 gfn=31 op=r
phase race
thread vcpu0
touch vcpu=0 gfn=16 op=w
thread vcpu1
touch vcpu=1 gfn=16 op=w
