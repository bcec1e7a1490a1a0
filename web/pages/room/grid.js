// How tiles fill a space. Pure.

const PICTURE = 16 / 9;
// A picture is cropped to its tile: no further than this, or faces are lost.
const NARROWEST = 1.1;
const WIDEST = 2.2;
const SMALLEST_WIDTH_PX = 150;
const SMALLEST_HEIGHT_PX = 96;

/**
 * The most tiles that are still worth looking at in this space.
 * @param {number} width of the space, px
 * @param {number} height px
 * @param {number} gap between tiles, px
 */
export function capacity(width, height, gap) {
  const columns = Math.max(1, Math.floor((width + gap) / (SMALLEST_WIDTH_PX + gap)));
  const rows = Math.max(1, Math.floor((height + gap) / (SMALLEST_HEIGHT_PX + gap)));
  return columns * rows;
}

/**
 * The arrangement in which *count* pictures of 16:9 come out largest, with tiles that use up the
 * space around them.
 * @param {number} count at least 1
 * @param {number} width of the space, px
 * @param {number} height px
 * @param {number} gap px
 * @returns {{columns: number, rows: number, tileWidth: number, tileHeight: number}}
 */
export function arrange(count, width, height, gap) {
  let best = { columns: 1, rows: count, tileWidth: 0, tileHeight: 0, picture: -1 };
  for (let columns = 1; columns <= count; columns++) {
    const rows = Math.ceil(count / columns);
    const cellWidth = (width - gap * (columns - 1)) / columns;
    const cellHeight = (height - gap * (rows - 1)) / rows;
    if (cellWidth <= 0 || cellHeight <= 0) continue;
    const picture = Math.min(cellWidth, cellHeight * PICTURE);
    if (picture <= best.picture) continue;
    best = {
      columns,
      rows,
      tileWidth: Math.floor(Math.min(cellWidth, cellHeight * WIDEST)),
      tileHeight: Math.floor(Math.min(cellHeight, cellWidth / NARROWEST)),
      picture,
    };
  }
  const { columns, rows, tileWidth, tileHeight } = best;
  return { columns, rows, tileWidth, tileHeight };
}
