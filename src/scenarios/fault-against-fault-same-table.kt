# Two vCPUs write neighbouring pages: both may want to link the table.
vm vcpus=2 entries=4 code=0
mem m size=64K populate=1
slot 1 gfn=16 npages=16 mem=m
touch vcpu=0 gfn=31 op=r
touch vcpu=1 gfn=31 op=r
phase race
thread vcpu0
touch vcpu=0 gfn=16 op=w
touch vcpu=0 gfn=18 op=w
thread vcpu1
touch vcpu=1 gfn=17 op=w
touch vcpu=1 gfn=18 op=r
