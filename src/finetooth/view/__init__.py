"""What users see of a record: on a terminal, as HTML, as a line of JSON, and as numbers.

    terminal    render_terminal: one record, its sides under one text
    html        render_html, html_fragment: a page, and a piece for notebooks
    jsonlines   to_json: the line of `finetooth inspect --format json`
    summary     summarize: tokens, supervised share, first and last supervised tokens

Import from the modules: a terminal need not wait for the page's style sheets.
"""
