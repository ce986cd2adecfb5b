/** Everything that draws: text, pictures, SVG and JSON, all from one graph. */
export { type MachineJson, machineJson, renderJson } from './json.ts'
export { type PictureOptions, renderPicture } from './picture.ts'
export { renderSvg } from './svg.ts'
export { renderText, type TextOptions } from './text.ts'
