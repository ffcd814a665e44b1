# A vCPU goes back and forth between roles, which it keeps roots for, while all roots are made obsolete.
vm vcpus=1 entries=4 code=0
mem m size=16K populate=1
mem s size=16K populate=1
slot 1 gfn=16 npages=4 mem=m
slot 2 gfn=16 npages=4 mem=s as=1
touch vcpu=0 gfn=16 op=w
role vcpu=0 smm=1
touch vcpu=0 gfn=16 op=w
phase race
thread vcpu0
touch vcpu=0 gfn=17 op=r
role vcpu=0 smm=0
touch vcpu=0 gfn=16 op=w
thread ioctl
zapall
