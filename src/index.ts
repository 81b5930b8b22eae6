// The public library: re-exports and nothing else.

export type { Algorithm, ObjectId } from "./bytes/algorithm.ts";
export type { ByteString } from "./bytes/byte-string.ts";
export { compareBytes, displayBytes, fromByteString, toByteString, utf8ByteString } from "./bytes/byte-string.ts";
export type { FormatVersion } from "./core/erofs.ts";
export { FsverityHasher, fsverityDigest, fsverityFile } from "./core/fsverity.ts";
export type { MeasuredFile, MeasureOptions } from "./core/measure.ts";
export { measureFile } from "./core/measure.ts";
export type { ErrorCode, ErrorDetails } from "./error.ts";
export { ComposefsError } from "./error.ts";
export type { Cause } from "./explain/causes.ts";
export type { Expected, ExpectedSource } from "./explain/expected.ts";
export type { Comparison, Explanation, Match, NotTried, SuspicionMatch } from "./explain/explain.ts";
export type { ExplainDigestOptions } from "./explain/explain-digest.ts";
export { explainDigest } from "./explain/explain-digest.ts";
export type { Preparation, TransformName, Variant } from "./explain/variants.ts";
export type { Finding, ImageDumpForm, ImageInput, ReadOptions } from "./core/erofs-read.ts";
export type { CheckImageOptions, ImageCheck } from "./image/check.ts";
export { checkImage } from "./image/check.ts";
export type { DirectoryIdOptions, VariantId } from "./image/directory-id.ts";
export { computeAllDirectoryIds, computeDirectoryId } from "./image/directory-id.ts";
export type { DumpImageOptions } from "./image/dump.ts";
export { dumpImage as dumpImageFile } from "./image/dump.ts";
export type { EntriesOptions, ImageEntry } from "./image/entries.ts";
export { imageEntries } from "./image/entries.ts";
export type { ImageKind } from "./image/header.ts";
export { HEADER_BYTES, recognizeImage } from "./image/header.ts";
export { listImage } from "./image/list.ts";
export type { StoredNode } from "./image/lookup.ts";
export { lookupImage } from "./image/lookup.ts";
export type { ImageObjectsOptions } from "./image/objects.ts";
export { imageObjects as imageFileObjects } from "./image/objects.ts";
export { PayloadSet } from "./image/payloads.ts";
export { readTree } from "./image/read.ts";
export type { RewrittenImage } from "./image/rewrite.ts";
export { rewriteImage } from "./image/rewrite.ts";
export type { MountedFile, MountFileOptions } from "./image/mount/mount-path.ts";
export { mountFile } from "./image/mount/mount-path.ts";
export type { ImageOptions, WrittenImage } from "./image/write.ts";
export { imageId, writeImage, writeImageFromDump } from "./image/write.ts";
export type { BootImage } from "./oci/boot-images.ts";
export type { ImageOfVersion } from "./oci/commit.ts";
export type { ComputeIdOptions } from "./oci/compute-id.ts";
export { computeImageId } from "./oci/compute-id.ts";
export type { CopyOptions, CopyResult } from "./oci/copy.ts";
export { copyImage } from "./oci/copy.ts";
export type { Digest } from "./oci/digest.ts";
export { dumpImage } from "./oci/dump.ts";
export type { ExportedImage, ExportOptions } from "./oci/export.ts";
export { exportImage, parseExportTarget } from "./oci/export.ts";
export type { ImageTreeOptions } from "./oci/image-tree.ts";
export { imageTree } from "./oci/image-tree.ts";
export { importSingleLayer } from "./oci/import-layer.ts";
export type { ImageInspection } from "./oci/inspect.ts";
export { imageConfig, imageManifest, inspectImage } from "./oci/inspect.ts";
export type { LayerInfo } from "./oci/layer-info.ts";
export { layerDump, layerInfo, layerTar } from "./oci/layer-info.ts";
export type { Share } from "./oci/layer/split.ts";
export type { LocalFetch } from "./oci/layer/zero-copy.ts";
export type { ListedImage } from "./oci/list.ts";
export { listImages } from "./oci/list.ts";
export type { PrepareBootOptions, PreparedBoot } from "./oci/prepare-boot.ts";
export { prepareBoot } from "./oci/prepare-boot.ts";
export type { OciMountOptions } from "./oci/mount.ts";
export { mountContainer } from "./oci/mount.ts";
export { nearNames } from "./oci/near-names.ts";
export type { OpenedTree, OpenTreeOptions, TreeSource } from "./oci/open-tree.ts";
export { openTree, openTrees } from "./oci/open-tree.ts";
export type { Platform } from "./oci/platform.ts";
export { formatPlatform, hostPlatform, parsePlatform } from "./oci/platform.ts";
export type { PullOptions, PullResult, PullStats } from "./oci/pull-options.ts";
export { pull, pullFrom } from "./oci/pull.ts";
export type { PlatformPull, PullAllOptions } from "./oci/pull-all.ts";
export { platformTag, pullAll } from "./oci/pull-all.ts";
export { pullReferrers, type PullReferrersOptions } from "./oci/pull-referrers.ts";
export type { ImageReference, Transport } from "./oci/reference.ts";
export { parseReference } from "./oci/reference.ts";
export type { RegistryOptions } from "./oci/registry/requests.ts";
export type { StoreSelection } from "./oci/source/containers-storage/discover.ts";
export { openSource } from "./oci/source/open.ts";
export type {
  ContentCheck,
  FileContent,
  ImageSource,
  ResolvedManifest,
  ResolveOptions,
  UnpackedLayer,
} from "./oci/source/source.ts";
export type { MakeBootOptions, StoredBoot } from "./oci/stored-boot.ts";
export { dropBootImages, makeBootImages } from "./oci/stored-boot.ts";
export { checkTag, decodeTag, encodeTag } from "./oci/tag-name.ts";
export type { Tag } from "./oci/tags.ts";
export { findTag, listTags, tagImage, untagImage } from "./oci/tags.ts";
export type { ProgressEvent, ProgressKind, ProgressListener } from "./progress.ts";
export { defaultRepositoryPath, ensureDefaultRepository } from "./repository/default-repository.ts";
export type { CreatedImage, CreateImageOptions } from "./repository/create-image.ts";
export { createImage } from "./repository/create-image.ts";
export type { BackingPath } from "./repository/dump-files.ts";
export { backingPaths, dumpFiles } from "./repository/dump-files.ts";
export { imageObjectLines, imageObjects } from "./repository/image-objects.ts";
export type { ImportedImage, ImportImageOptions } from "./repository/import-image.ts";
export { importImage } from "./repository/import-image.ts";
export type { FindingKind, Finding as FsckFinding, FsckCounters, FsckReport } from "./repository/fsck/finding.ts";
export { findingMessage } from "./repository/fsck/finding.ts";
export type { FsckOptions } from "./repository/fsck/fsck.ts";
export { checkRepository } from "./repository/fsck/fsck.ts";
export type { RepairOptions, RepairResult } from "./repository/fsck/repair.ts";
export { repairRepository } from "./repository/fsck/repair.ts";
export type { RepairAction, RepairPlan } from "./repository/fsck/repair-plan.ts";
export type { GcOptions, GcResult } from "./repository/gc/collect.ts";
export { collectGarbage, incompleteWalk } from "./repository/gc/collect.ts";
export type { GcPlan, Removal } from "./repository/gc/plan.ts";
export type { WalkProblem } from "./repository/gc/reach.ts";
export type { InitOptions, InitResult } from "./repository/init.ts";
export { initRepository } from "./repository/init.ts";
export type { RepositorySelection } from "./repository/location.ts";
export { repositoryPath, SYSTEM_REPOSITORY } from "./repository/location.ts";
export type { AlgorithmName, ErofsFormat, Meta } from "./repository/meta.ts";
export { algorithmName, effectiveFormats, parseAlgorithmName } from "./repository/meta.ts";
export type { MountedImage, MountOptions } from "./repository/mount.ts";
export { mountImage } from "./repository/mount.ts";
export type { ObjectSink, PutResult } from "./repository/object-store.ts";
export type { OpenOptions, Ref } from "./repository/repository.ts";
export { Repository } from "./repository/repository.ts";
export { storingWork, syncStore } from "./repository/scan-objects.ts";
export type { ResetOptions, ResetPlan, ResetResult } from "./repository/reset.ts";
export { planReset, resetMetadata } from "./repository/reset.ts";
export type { LockHolder } from "./runtime/lock-holders.ts";
export type { LockWait } from "./runtime/syscalls.ts";
export type { Splitstream } from "./splitstream/read.ts";
export { SplitstreamWriter } from "./splitstream/write.ts";
export type { DirectoryTreeOptions } from "./tree/directory-tree.ts";
export { directoryTree } from "./tree/directory-tree.ts";
export type { DiffOptions, EntryChange, EntryType, FieldChange } from "./tree/diff.ts";
export { diffTrees } from "./tree/diff.ts";
export type { DiffField } from "./tree/diff-fields.ts";
export { DIFF_FIELDS } from "./tree/diff-fields.ts";
export { dumpTree } from "./tree/dump.ts";
export type { Content, Node, Stat, Xattrs } from "./tree/node.ts";
export { Directory, Leaf, NO_XATTRS } from "./tree/node.ts";
export type { KeptMetadata } from "./tree/reduce-metadata.ts";
export { reduceMetadata } from "./tree/reduce-metadata.ts";
export { checkOutside } from "./tree/scan/outside.ts";
export type { FileWork } from "./tree/scan/file-pool.ts";
export type { ScannedTree, ScanOptions } from "./tree/scan/scan.ts";
export { scanDirectory } from "./tree/scan/scan.ts";
export { checkXattrSpace } from "./tree/xattr-space.ts";
export type { XattrMode } from "./tree/xattr-filter.ts";
export type { BootableDirectoryOptions, TreeTransform } from "./boot/boot-directory.ts";
export { bootableDirectory, repositoryBodies } from "./boot/boot-directory.ts";
export type { BootableOptions, BootableTree, EmptiedMtimes } from "./boot/bootable-transform.ts";
export { bootableTransform } from "./boot/bootable-transform.ts";
export type { CommandLineEdit, Parameter } from "./boot/kargs/command-line.ts";
export {
  addOrModifyParameter,
  addParameter,
  equalCommandLines,
  extendCommandLine,
  findParameter,
  parseParameters,
  removeExactParameter,
  removeParameter,
  sameForSoftReboot,
  splitCommandLine,
} from "./boot/kargs/command-line.ts";
export type {
  ArgumentToRender,
  ComposefsArgument,
  ListedArgument,
  TolerantArgument,
} from "./boot/kargs/composefs-argument.ts";
export {
  checkUkiDigest,
  findComposefsArgument,
  listComposefsArguments,
  readComposefsArgument,
  renderComposefsArgument,
  setComposefsArgument,
} from "./boot/kargs/composefs-argument.ts";
export type { KargsFile } from "./boot/kargs/kargs-d.ts";
export { imageKargs, updateKargs } from "./boot/kargs/kargs-d.ts";
export type { BootEntry, EntryTarget } from "./boot/entry/bls.ts";
export { entryArtifact, entryDigest, parseBootEntry, writeBootEntry } from "./boot/entry/bls.ts";
export type { GrubEntry } from "./boot/entry/grub-config.ts";
export { newGrubEntry, parseGrubConfig, writeGrubConfig } from "./boot/entry/grub-config.ts";
export type { Artifact } from "./boot/entry/identity.ts";
export type { BootLoader, MenuItem } from "./boot/entry/order.ts";
export { sortMenu } from "./boot/entry/order.ts";
export { compareVersions } from "./boot/entry/version.ts";
export type { OpenBootFile, OpenFile, StepResult } from "./boot/change/carry-out.ts";
export { carryOut } from "./boot/change/carry-out.ts";
export type { PrepareOptions, UkiCheck } from "./boot/install/prepare.ts";
export { chooseBootResource, planPrepareBoot } from "./boot/install/prepare.ts";
export type { ImageFile } from "./boot/repository-files.ts";
export { openImageFile } from "./boot/repository-files.ts";
export type { BootStep, BootVolumeName } from "./boot/change/steps.ts";
export type { BootVolume, VolumeEntry } from "./boot/change/volume.ts";
export { DirectoryVolume } from "./boot/change/volume.ts";
export type { LabelCause, LabelDifference } from "./boot/selinux/lint.ts";
export { lintLabels } from "./boot/selinux/lint.ts";
export type { Rule as LabelRule } from "./boot/selinux/matcher.ts";
export type { Policy as LabelPolicy } from "./boot/selinux/policy.ts";
export { discoverBootResources } from "./boot/discover.ts";
export type { BootFile, BootResource, EntryResource, KernelResource, PeResource, ReadFile } from "./boot/resource.ts";
export type { FileSource } from "./boot/file-source.ts";
export { openFileSource } from "./boot/file-source.ts";
export { OsRelease } from "./boot/os-release.ts";
export type { PeSection, PeSource } from "./boot/pe/read.ts";
export { bytesSource, PeFile } from "./boot/pe/read.ts";
export type { AppendPlan, NewSection } from "./boot/pe/append.ts";
export { UKI_SECTION, ukiBootDigest, ukiCommandLine, ukiLabel, ukiOsRelease, untilNul } from "./boot/uki/uki.ts";
export type { ExtractedUki } from "./boot/uki/extract.ts";
export { extractUki } from "./boot/uki/extract.ts";
export type { InspectedSection, UkiInspection } from "./boot/uki/inspect.ts";
export { inspectUki } from "./boot/uki/inspect.ts";
export type { AddonParts, PePlan, Stub, UkiParts } from "./boot/uki/write.ts";
export { joined, peBytes, planAddon, planUki, writePe } from "./boot/uki/write.ts";
export type { SealSource } from "./seal/base.ts";
export type { BuiltUki, BuildUkiOptions, UkiFiles } from "./seal/build-uki.ts";
export { buildUki } from "./seal/build-uki.ts";
export type { OutputName, SourceName } from "./seal/names.ts";
export { parseOutputName, parseSourceName } from "./seal/names.ts";
export type { SealOutput } from "./seal/output.ts";
export type { ChosenParts, GivenParts, Part } from "./seal/parts.ts";
export type { SealAddon, SealOptions, SealPlan, SealResult } from "./seal/options.ts";
export { planSeal, sealImage } from "./seal/seal.ts";
export type { SigningCommand } from "./seal/sign.ts";
export type { BootedDeployment, MountEntry } from "./deploy/booted.ts";
export { bootedDeployment, bootloaderOf, mountedEsp, parseMountInfo } from "./deploy/booted.ts";
export type { JsonValue } from "./deploy/canonical-json.ts";
export type { CachedUpdate } from "./deploy/cached-update.ts";
export { parseCachedUpdate, writeCachedUpdate } from "./deploy/cached-update.ts";
export { canonicalJson } from "./deploy/canonical-json.ts";
export type { CollectedRepository, DeployGcResult } from "./deploy/collect.ts";
export { assertCollected, deployGc, deployGcDryRun } from "./deploy/collect.ts";
export type { XattrChoice } from "./deploy/carried-xattrs.ts";
export type { CheckOptions, SysrootCheck } from "./deploy/check/check.ts";
export { checkSysroot } from "./deploy/check/check.ts";
export type { CheckFinding, CheckLevel } from "./deploy/check/finding.ts";
export type { DeletePlan } from "./deploy/delete.ts";
export { planDelete } from "./deploy/delete.ts";
export { deploymentImage } from "./deploy/exported-image.ts";
export type { DiskImage, DiskImageOptions } from "./deploy/disk/disk-image.ts";
export { createDiskImage } from "./deploy/disk/disk-image.ts";
export type { Partition } from "./deploy/disk/gpt.ts";
export type { DeleteOptions, DeleteResult } from "./deploy/delete-deployment.ts";
export { deleteDeployment } from "./deploy/delete-deployment.ts";
export type { EtcApplyOptions } from "./deploy/etc-apply.ts";
export { mergeEtcDirectories } from "./deploy/etc-apply.ts";
export type { EtcDiffOptions } from "./deploy/etc-diff.ts";
export { etcDiff } from "./deploy/etc-diff.ts";
export type { EtcConflict, EtcMerge, EtcMergeOptions, EtcStep, EtcStrategy } from "./deploy/etc-merge.ts";
export { mergeEtc } from "./deploy/etc-merge.ts";
export type { FetchOptions } from "./deploy/deployment-image.ts";
export type { EtcOptions } from "./deploy/etc-base.ts";
export type { FinalizedDeployment, FinalizeOptions } from "./deploy/finalize.ts";
export { finalizeDeployment } from "./deploy/finalize.ts";
export type { DeployGcPlan, PlannedGc } from "./deploy/gc.ts";
export { planDeployGc } from "./deploy/gc.ts";
export type {
  GcFiles,
  GcOptions as DeployGcOptions,
  GcRepository,
  RepositoryContent,
  StorageImage,
  StoredManifest,
} from "./deploy/gc-input.ts";
export { readBootBinaries, readGcRepository } from "./deploy/gc-read.ts";
export type { GcStep } from "./deploy/gc-steps.ts";
export { gcSteps, gcStepText } from "./deploy/gc-steps.ts";
export type { Host, HostEntry, HostStatus, ImageStatus } from "./deploy/host.ts";
export { hostStatus, onlyBooted } from "./deploy/host.ts";
export type { HostTextOptions } from "./deploy/host-text.ts";
export { hostText } from "./deploy/host-text.ts";
export type { HostImage, ImageSignature, ImageTransport } from "./deploy/image-reference.ts";
export { originReference, parseHostImage, parseSwitchTarget } from "./deploy/image-reference.ts";
export type { InstalledDeployment, InstallOptions } from "./deploy/install.ts";
export { installDeployment } from "./deploy/install.ts";
export type { LayerDifference, LayerSum } from "./deploy/layer-difference.ts";
export type { SysrootLocation, SysrootPaths } from "./deploy/location.ts";
export { findSysroot, locateSysroot } from "./deploy/location.ts";
export type { Machine } from "./deploy/machine.ts";
export { dropStaging, stageMenu, activateMenu } from "./deploy/menu-files.ts";
export type { OpenSysrootOptions } from "./deploy/open-sysroot.ts";
export { OpenSysroot } from "./deploy/open-sysroot.ts";
export type { ManifestOpener } from "./deploy/open-once.ts";
export type { MigrateFormatsOptions } from "./deploy/migrate-formats.ts";
export { migrateFormats } from "./deploy/migrate-formats.ts";
export { migratePrefix } from "./deploy/migrate-prefix.ts";
export type { Origin, OriginEntry } from "./deploy/origin.ts";
export { parseOrigin, withOriginEntries, writeOrigin } from "./deploy/origin.ts";
export type { RollbackPlan, WrittenMenu } from "./deploy/rollback.ts";
export { planRollback } from "./deploy/rollback.ts";
export { checkRollbackTarget, rollBack } from "./deploy/carry-out-rollback.ts";
export type { StagedDeployment, StageOptions } from "./deploy/stage.ts";
export type { MetadataOptions } from "./deploy/state-directory.ts";
export type {
  BootFiles,
  DeployWarning,
  ImageDocuments,
  NamedText,
  StateDirectory,
  SysrootState,
  UsrOverlay,
  WarningCode,
} from "./deploy/state.ts";
export type { SwitchDeploymentOptions } from "./deploy/switch.ts";
export { switchDeployment } from "./deploy/switch.ts";
export type { ReadSysrootOptions } from "./deploy/sysroot.ts";
export { readSysroot } from "./deploy/sysroot.ts";
export type {
  BaseOption,
  Slot,
  SwitchOptions,
  UpdateDecision,
  UpdateTarget,
  UpgradeOptions,
} from "./deploy/update.ts";
export { decideSwitch, decideUpgrade, updateSource } from "./deploy/update.ts";
export type { UpdateOptions, UpdateResult } from "./deploy/update-run.ts";
export type { UpgradeDeploymentOptions, UpgradeResult } from "./deploy/upgrade.ts";
export { upgradeDeployment } from "./deploy/upgrade.ts";
export { warningText } from "./deploy/warning-text.ts";
export { yamlText } from "./deploy/yaml.ts";
