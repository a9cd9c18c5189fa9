/** What ComfyUI's server has beside the pack's scripts: the page's own, of which nothing is known here. */
declare module "*/scripts/api.js" {
  export const api: any;
}
declare module "*/scripts/app.js" {
  export const app: any;
}
interface Window {
  LiteGraph: any;
}
