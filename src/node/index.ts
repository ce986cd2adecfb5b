/** Reading machines from files (Node only). */
export * from './bytes.ts'
export * from './capture.ts'
export * from './dump/contract.ts'
export { isText } from './dump/formats.ts'
export * from './dump/open.ts'
export * from './elf.ts'
export * from './errors.ts'
export { type KernelFindings, kernelFindings } from './kernel/linux.ts'
export * from './registers.ts'
export * from './registers-text.ts'
export {
  type CaptureSide,
  type DebugTranslation,
  type DeviceFacts,
  type ExpectedTranslation,
  factNumber,
  factWords,
  type KernelMapping,
  type ProvokedFault,
  parseSide,
  type SpaceFacts,
} from './side.ts'
export * from './translation-text.ts'
export * from './unpack.ts'
