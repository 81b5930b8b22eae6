#!/bin/busybox sh
# An initramfs program after the contract of docs/spec/boot.md, section 12, and vm-testing.md, section 11, for both layouts of the
# state, that of composefs-rs and that of bootc: finds the image that the command line names, has the kernel vouch for it, and starts its init.
export PATH=/bin:/usr/bin
/bin/busybox --install -s /bin
mkdir -p /proc /sys /dev /run /sysroot /image /root
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
mount -t tmpfs run /run
refuse() {
  echo "BOOT: refused: $*"
  umount /sysroot 2>/dev/null
  poweroff -f
}
for module in /modules/*.ko; do insmod "$module" || refuse "$module"; done
for i in $(seq 100); do [ -b /dev/vda ] && break; sleep 0.1; done
read -r line </proc/cmdline
for word in $line; do
  case $word in root=*) device=$(findfs "${word#root=}") ;; esac
done
mount -t ext4 -o rw "$device" /sysroot || refuse "no root file system"
composefs=/sysroot/composefs
for word in $line; do
  case $word in
    composefs.digest=*) value=${word#composefs.digest=} ;;
    composefs=*) value=${word#composefs=} ;;
    *) continue ;;
  esac
  verity=require
  case $value in \?*) verity=off value=${value#\?} ;; esac
  digest=${value##*:}
  image=$composefs/images/$digest
  [ -e "$image" ] || { echo "BOOT: no image $digest"; continue; }
  if [ $verity = require ]; then
    fsverity measure $composefs/meta.json >/dev/null || refuse "the repository has no fs-verity"
    measured=$(fsverity measure "$image") || refuse "the image has no fs-verity"
    measured=${measured%% *}
    [ "${measured#*:}" = "$digest" ] || refuse "mismatch: the image is ${measured#*:}"
  fi
  found=$digest
  break
done
[ -n "$found" ] || refuse "no image of the command line is there"
mount -t erofs -o ro,loop "$image" /image || refuse "the image cannot be mounted"
mount -t overlay -o "ro,metacopy=on,redirect_dir=on,verity=$verity,lowerdir+=/image,datadir+=$composefs/objects" \
  "composefs:$digest" /root || refuse "the overlay cannot be mounted"
state=/sysroot/state/deploy/$digest
if [ -L "$state/var" ]; then
  # A deployment (deployments.md, sections 2.1 and 6): /etc is a whole one, /var is shared.
  mount --bind "$state/etc" /root/etc || refuse "no /etc"
else
  mkdir -p "$state/etc/upper" "$state/etc/work"
  mount -t overlay -o "lowerdir=/root/etc,upperdir=$state/etc/upper,workdir=$state/etc/work" overlay /root/etc || refuse "no /etc"
fi
mount --bind "$state/var" /root/var || refuse "no /var"
mount --bind /sysroot /root/sysroot && mount -o remount,ro,bind /root/sysroot || refuse "no /sysroot"
for place in proc sys dev run; do mount --move "/$place" "/root/$place"; done
exec switch_root /root /sbin/init
